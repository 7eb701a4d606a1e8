from __future__ import annotations

import asyncio

from visage_serve.network import Network


def batching(network):
    """A batcher as Ray's is: it takes what is in the queue when it looks."""
    queue: asyncio.Queue = asyncio.Queue()
    tasks = []

    async def loop():
        while True:
            batch = [await queue.get()]
            await asyncio.sleep(0)
            while not queue.empty():
                batch.append(queue.get_nowait())
            scores = await network.run([inputs for inputs, _ in batch])
            for (_, future), score in zip(batch, scores, strict=True):
                future.set_result(score)

    async def forward(inputs):
        if not tasks:
            tasks.append(asyncio.create_task(loop()))
        await network.idle()
        future = asyncio.get_running_loop().create_future()
        queue.put_nowait((inputs, future))
        return await future

    return forward


def test_what_arrives_during_a_pass_becomes_one_batch_and_keeps_its_owners(bench, png):
    made = bench(forward=batching, prepare_threads=1)
    reds = [16 * step for step in range(1, 13)]

    async def talk(client):
        made.predictor.gate.clear()
        tasks = [
            asyncio.create_task(client.post("/v1/emotion", files={"image": png(red=red)}))
            for red in reds
        ]
        await asyncio.to_thread(made.predictor.entered.wait, 10.0)
        while made.detected() < len(reds):  # all others line up behind the first pass
            await asyncio.sleep(0.001)
        made.predictor.gate.set()
        return await asyncio.gather(*tasks)

    answers = made.run(talk)
    labels = [answer.json()["images"][0]["faces"][0]["label"] for answer in answers]
    assert labels == [made.label_of(red) for red in reds]
    sizes = made.network.batch_sizes
    assert sum(size * count for size, count in sizes.items()) == len(reds)
    assert max(sizes) >= len(reds) // 2


def test_a_free_network_makes_nobody_wait(bench):
    network: Network = bench().network

    async def passes():
        await asyncio.wait_for(network.idle(), timeout=0.01)
        return True

    assert asyncio.run(passes())

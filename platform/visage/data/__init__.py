"""Records, manifests, shards, the sampler, the feed and the ledger."""

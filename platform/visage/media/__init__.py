"""Pictures, clips and sound in and out, under limits."""

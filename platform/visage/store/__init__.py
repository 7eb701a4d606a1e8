"""Bytes under URIs, local or s3://, and the one commit protocol behind everything published."""

"""The pipelines, one file each: they only wire steps."""

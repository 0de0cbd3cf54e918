"""What a model can be turned into for other programs: one file each, with `write(checkpoint, out, metadata)`."""

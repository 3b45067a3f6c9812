"""What a training computes, epoch by epoch, on disk: recorded, kept as files, read."""

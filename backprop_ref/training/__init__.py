"""Training: from arguments to a plan, epoch after epoch, to files from which it goes on."""

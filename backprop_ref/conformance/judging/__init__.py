"""From a submission's answers to verdicts, conventions and a report."""

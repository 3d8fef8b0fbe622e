"""Long work: jobs in parts, those who compute them, the journal of what is done, progress."""

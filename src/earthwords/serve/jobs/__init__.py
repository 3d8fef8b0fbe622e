"""Long work of the server: a queue in SQLite, a child process for each job, events for open pages."""

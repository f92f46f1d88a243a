"""What creators use: task files, the cc-task command, publishing and results."""

"""The command lines: arguments, progress bars, exit codes. They only call."""

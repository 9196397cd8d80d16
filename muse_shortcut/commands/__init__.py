"""The commands: arguments, progress bars, exit codes. They contain no logic of their own."""

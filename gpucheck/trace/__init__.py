"""What a command looks for while it runs: libraries, device nodes, helper programs. See docs/trace.md."""

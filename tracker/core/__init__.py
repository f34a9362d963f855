"""Pure tracking: no file, socket, clock, thread, torch or global state."""

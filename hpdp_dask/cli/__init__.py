"""`hpdp`: reads the words, opens the stacks, calls a stage, saves."""

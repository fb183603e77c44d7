"""Single-particle cryo-EM: each module is one step of the workflow."""

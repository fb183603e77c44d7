"""Single-particle imaging at X-ray lasers: from detector frames to classified hits."""

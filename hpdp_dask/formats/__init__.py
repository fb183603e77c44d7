"""The world's files, one module a format, each to and from a `ParticleTable` or an array."""

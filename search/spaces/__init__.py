"""Search spaces: chromosomes in, graphs out."""

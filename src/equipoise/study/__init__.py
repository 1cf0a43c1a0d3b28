"""Methods × seeds on a problem, and what came out."""

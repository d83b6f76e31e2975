"""What an administrator asks for: garbage collection, checks, archives, statistics, doctor."""

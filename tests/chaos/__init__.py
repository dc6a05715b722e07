"""The proof: a real bot, a seeded fault injector, and an exchange that judges. `bin/chaos` runs it."""

"""The proof: a real bot, a seeded nemesis, and an exchange that judges. `bin/chaos` runs it."""

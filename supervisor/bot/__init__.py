"""Who leads: bring-up, standby, hang rules, crash recovery, outages and the relay of commands."""

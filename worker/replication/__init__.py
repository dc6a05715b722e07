"""Publishing frames, following them, snapshots, the rehearsal, and recovery from the journal."""

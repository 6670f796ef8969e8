-- Says to all instances that a node is there, has changed, or is gone; where the scripts that see to that cannot, because
-- its keys are on another server.
--
-- KEYS  1 all nodes  2 changes
-- ARGV  1 its id, as in keys  2 "there" or "gone"  3 how long both are kept, ms
-- Answers {"DONE"}
announce(KEYS[1], KEYS[2], ARGV[1], ARGV[2] == 'there' and server_time(), ARGV[3])
return { 'DONE' }

# A scan that reads the rows of one vector, which are a chain of postings, while
# VACUUM takes dead postings out of that chain and frees them, and inserts put others
# in their place: it finds each row once.
#
# The condition is slow on purpose, so that a scan takes milliseconds from one end of
# the chain to the other.  Before, some three scans of a thousand lost rows.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my ($rounds, $readers) = (30, 2);

my $node = index_node('chain');
$node->append_conf('postgresql.conf', "enable_seqscan = off\nenable_sort = off");
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int, v vector(8), tags text[]);
	CREATE INDEX items_v ON items USING recsys_hnsw (v vector_l2_ops, tags);
	INSERT INTO items SELECT i, noise(1, 8), '{z}' FROM generate_series(1, 20) i;
	CREATE TABLE state (writing bool);
	INSERT INTO state VALUES (true);
	CREATE PROCEDURE read_on() LANGUAGE plpgsql AS $$
	DECLARE
		many text[] := (SELECT array_agg('t' || i) || ARRAY['z'] FROM generate_series(1, 2000) i);
		found int[];
	BEGIN
		WHILE (SELECT writing FROM state) LOOP
			found := ARRAY(SELECT id FROM items WHERE tags && many ORDER BY v <-> noise(1, 8) LIMIT 20);
			IF (SELECT count(DISTINCT i) FROM unnest(found) i) <> 20 THEN RAISE 'found %', found; END IF;
			COMMIT;
		END LOOP;
	END $$;
	CREATE PROCEDURE write_on() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE (SELECT writing FROM state) LOOP
			INSERT INTO items SELECT -i, noise(1, 8), '{z}' FROM generate_series(1, 300) i;
			ROLLBACK;
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$});

my @readers = map { session($node, 'CALL read_on()') } 1 .. $readers;
my $writer = session($node, 'CALL write_on()');
for (1 .. $rounds)
{
	# of rows inserted later, no posting is behind those of the rows that stay
	$node->safe_psql('postgres', q{
		BEGIN;
		INSERT INTO items SELECT 1000 + i, noise(1, 8), '{z}' FROM generate_series(1, 6000) i;
		DELETE FROM items WHERE id > 20;
		COMMIT});
	# until no scan has an older snapshot, for which the rows would be kept
	$node->safe_psql('postgres', q{SELECT pg_sleep(0.1); VACUUM (TRUNCATE off) items});
}
$node->safe_psql('postgres', 'UPDATE state SET writing = false');
for my $reader (@readers)
{
	ok(finish($reader), 'each scan found all rows, each once') or diag ${ $reader->{out} };
}
ok(finish($writer), 'rows were inserted meanwhile') or diag ${ $writer->{out} };
$node->safe_psql('postgres', 'VACUUM items');
cmp_ok($node->safe_psql('postgres', q{SELECT postings FROM recsys.index_stats('items_v')}),
	'<', 10, 'VACUUM has freed postings');
check_passes($node, 'items_v', 'the index is whole');
$node->stop;
done_testing();

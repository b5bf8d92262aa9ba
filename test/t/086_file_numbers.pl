# The index of a temporary table whose file has the number of a permanent one's,
# as may be when the server's counter has come round: what a session remembers of
# the one's pages does not serve it for the other's.
use strict;
use warnings;

use IndexTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = index_node('numbers');
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int, v vector(8));
	INSERT INTO items SELECT i, noise(i, 8) FROM generate_series(1, 2000) i;
	-- an index of the number, or an error
	CREATE PROCEDURE index_with_number(am text, number oid) LANGUAGE plpgsql AS $$
	DECLARE made bigint;
	BEGIN
		LOOP
			EXECUTE format('CREATE INDEX mine_v ON mine USING %s (v vector_l2_ops)', am);
			SELECT relfilenode INTO made FROM pg_class WHERE relname = 'mine_v';
			EXIT WHEN made >= number::bigint;
			DROP INDEX mine_v;
		END LOOP;
		IF made <> number::bigint THEN RAISE 'the number is % and not %', made, number; END IF;
	END $$});

sub set_counter
{
	my ($number) = @_;
	$node->stop;
	command_ok([ 'pg_resetwal', '-o', $number, $node->data_dir ], "the counter is $number");
	$node->start;
	return;
}

for my $am ('recsys_ivfpq', 'recsys_hnsw')
{
	my $number = $node->safe_psql('postgres', qq{
		DROP INDEX IF EXISTS items_v;
		CREATE INDEX items_v ON items USING $am (v vector_l2_ops);
		REINDEX INDEX items_v;
		SELECT relfilenode FROM pg_class WHERE relname = 'items_v'});
	my $nearest = q{SELECT string_agg(id::text, ' ') FROM
		(SELECT id FROM mine ORDER BY v <-> noise(-1, 8) LIMIT 20) s};

	set_counter($number - 40);
	my (undef, $stdout, $stderr) = $node->psql('postgres', qq{
		SET enable_seqscan = off;
		SET enable_sort = off;
		CREATE TEMP TABLE mine AS SELECT * FROM items ORDER BY id DESC;
		CALL index_with_number('$am', $number);
		$nearest;
		SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> noise(-1, 8) LIMIT 2000) s;
		$nearest});
	my ($before, $rows, $after) = split /\n/, $stdout;
	is($stderr, '', "$am: no error");
	is($rows, 2000, "$am: the permanent index is read");
	is($after, $before, "$am: the temporary one gives what it gave before");
	set_counter($number + 10000);
}
$node->stop;
done_testing();

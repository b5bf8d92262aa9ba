# A server with recsys_hnsw is killed; see IndexCrash.pm.
use strict;
use warnings;

use IndexCrash;
use IndexTest;
use Test::More;

# A table whose rows become longer and longer, so that each enters the long list of
# its index, which is soon as long as it may be.
my $prepare = q{
	SET wal_consistency_checking = '';
	CREATE TABLE longs (id int PRIMARY KEY, v vector(24));
	CREATE SEQUENCE longer;
	CREATE PROCEDURE write_longs(n int) LANGUAGE sql AS $$
		INSERT INTO longs SELECT i, noise(i, 24) * array_fill((1 + i / 100.0)::real, ARRAY[24])::vector
		FROM (SELECT nextval('longer') AS i FROM generate_series(1, n)) s $$;
	CALL write_longs(1100);
	CREATE INDEX longs_v ON longs USING recsys_hnsw (v);
	CALL write_longs(1300);
	CREATE FUNCTION long_nodes() RETURNS bigint LANGUAGE sql AS $$
		SELECT long_nodes FROM recsys.index_stats('longs_v') $$;
	-- until the list has been cut
	CREATE PROCEDURE write_until_cut() LANGUAGE plpgsql AS $$
	DECLARE
		before bigint;
	BEGIN
		FOR i IN 1 .. 200 LOOP
			before := long_nodes();
			CALL write_longs(20);
			EXIT WHEN long_nodes() < before;
		END LOOP;
	END $$;
};

# Its index is whole, finds every row, and has a list.
sub check_longs
{
	my ($node, $name) = @_;
	check_passes($node, 'longs_v', "$name: the long list");
	is($node->safe_psql('postgres', q{
			SET enable_seqscan = off;
			SELECT count(*), count(DISTINCT id) = (SELECT count(*) FROM longs), long_nodes() > 300 FROM
				(SELECT id FROM longs ORDER BY v <#> noise(-1, 24) LIMIT 1000000) s}) =~ s/^\d+/n/r,
		'n|t|t', "$name: every row is found by the index, which has a long list");
	note $node->safe_psql('postgres', 'SELECT long_nodes()'), ' nodes on it';
	# the shorter half goes
	$node->safe_psql('postgres', 'DELETE FROM longs WHERE id < (SELECT max(id) - 1500 FROM longs)');
	$node->safe_psql('postgres', 'VACUUM longs');
	return;
}

crash_test('recsys_hnsw', ' WITH (ef_construction = 400)', 0, $prepare,
	{ name => 'the long list', kb => 24_000, first => 'CALL write_until_cut()', check => \&check_longs,
		again => 'CALL write_longs(100); DELETE FROM longs WHERE id % 3 = (random() * 2)::int AND id > 400; VACUUM longs' });

# The test of concurrency that the index access methods share: writers, readers,
# VACUUM and REINDEX CONCURRENTLY at the same time; then the index is whole and
# as good as a fresh one.  And a backend that asks thousands of times does not
# grow.
package IndexConcurrent;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use IndexTest;

our @EXPORT = qw(concurrent_test);

my $seconds = $ENV{RECSYS_CONCURRENT_SECONDS} // 25;
my $writers = $ENV{RECSYS_CONCURRENT_WRITERS} // 3;
my $readers = $ENV{RECSYS_CONCURRENT_READERS} // 2;
my $queries = $ENV{RECSYS_CONCURRENT_QUERIES} // 10_000;
my $node;

sub set_up
{
	my ($am, $options, $filters) = @_;

	$node = index_node('concurrent');
	$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 40\ndeadlock_timeout = 5s");
	$node->start;
	create_noise($node);
	$node->safe_psql('postgres', qq{
		CREATE TABLE items (id int PRIMARY KEY, v vector(16), note int DEFAULT 0);
		CREATE INDEX items_v ON items USING $am (v vector_l2_ops$filters) $options;
		CREATE INDEX items_ip ON items USING $am (v) $options});
	$node->safe_psql('postgres', q{
		INSERT INTO items SELECT i, noise(i, 16) FROM generate_series(1, 2000) i;
		CREATE SEQUENCE next_id START 10000;
		-- vectors come back, so that rows share nodes and nodes are used again
		CREATE FUNCTION some_vector() RETURNS vector LANGUAGE sql VOLATILE AS $$ SELECT noise((random() * 5000)::int, 16) $$;
		-- longer than all before
		CREATE FUNCTION longer_vector() RETURNS vector LANGUAGE sql VOLATILE AS $$
			SELECT noise(n, 16) * array_fill((n / 5000.0)::real, ARRAY[16])::vector FROM nextval('next_id') n $$;
		CREATE PROCEDURE write_some() LANGUAGE plpgsql AS $$
		DECLARE
			dice float8 := random(); other int := (random() * 5000)::int;
		BEGIN
			-- rows 1 to 1000 stay, so that readers always find enough
			IF dice < 0.5 THEN
				INSERT INTO items VALUES (nextval('next_id'), CASE WHEN dice < 0.4 THEN longer_vector() ELSE some_vector() END);
			ELSIF dice < 0.65 THEN
				UPDATE items SET v = some_vector() WHERE id = (SELECT id FROM items WHERE id > 1000 OFFSET other % 500 LIMIT 1);
			ELSIF dice < 0.7 THEN
				UPDATE items SET note = note + 1 WHERE id = 1 + other % 1000;
			ELSIF dice < 0.97 THEN
				DELETE FROM items WHERE id IN (SELECT id FROM items WHERE id > 1000 OFFSET other % 300 LIMIT 2);
			ELSE
				INSERT INTO items SELECT nextval('next_id'), some_vector() FROM generate_series(1, 5);
				ROLLBACK;
			END IF;
		END $$;
		CREATE FUNCTION read_some() RETURNS void LANGUAGE plpgsql AS $$
		DECLARE
			lim int := 1 + (random() * 300)::int; ids int[]; distances float8[]; q vector := some_vector();
		BEGIN
			IF random() < 0.5 THEN
				SELECT array_agg(id), array_agg(d) INTO ids, distances FROM (SELECT id, v <-> q AS d FROM items ORDER BY v <-> q LIMIT lim) s;
			ELSE
				SELECT array_agg(id), array_agg(d) INTO ids, distances FROM (SELECT id, v <#> q AS d FROM items ORDER BY v <#> q LIMIT lim) s;
			END IF;
			IF coalesce(cardinality(ids), 0) <> lim THEN RAISE 'LIMIT % gave % rows', lim, cardinality(ids); END IF;
			IF lim <> (SELECT count(DISTINCT i) FROM unnest(ids) i) THEN RAISE 'LIMIT % gave a row twice', lim; END IF;
			IF distances <> (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d) THEN RAISE 'LIMIT % gave rows out of order', lim; END IF;
		END $$;
	});
	return;
}

# pgbench that runs a statement for the whole time
sub start_bench
{
	my ($name, $clients, $sql) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir;

	open my $fh, '>', "$dir/$name.sql" or die $!;
	print $fh "$sql\n";
	close $fh;
	my $out = '';
	my $handle = IPC::Run::start(
		[ 'pgbench', '-n', '-f', "$dir/$name.sql", '-c', $clients, '-j', 1,
			'-T', $seconds, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>&', \$out);
	return { name => $name, handle => $handle, out => \$out };
}

sub all_at_once
{
	my @benches = (
		start_bench('writers', $writers, 'CALL write_some();'),
		start_bench('readers', $readers, "SET enable_seqscan = off;\nSELECT read_some();"),
		start_bench('vacuum', 1, "VACUUM items;\n\\sleep 300 ms"),
		start_bench('reindex', 1, "\\sleep 2 s\nREINDEX INDEX CONCURRENTLY items_ip;\nREINDEX INDEX CONCURRENTLY items_v;"));
	for (@benches)
	{
		my $done = $_->{handle}->finish;
		my ($transactions) = ${ $_->{out} } =~ /transactions actually processed: (\d+)/;
		note "$_->{name}: " . ($transactions // 0) . ' transactions';
		ok($done && ${ $_->{out} } !~ /ERROR|FATAL|PANIC|aborted/i, "$_->{name}: no error")
		  or diag ${ $_->{out} };
		# on a slow machine it is one of reindex, which rebuilds both indexes, and
		# VACUUM waits for that
		cmp_ok($transactions // 0, '>=', 1, "$_->{name}: something was done");
	}
	$node->safe_psql('postgres', 'VACUUM items');
	check_whole($node, 'items', 'items_v', 'afterwards');
	is($node->safe_psql('postgres', "SELECT recsys.check_index('items_ip')"), '', 'afterwards: check_index of the other index');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), '0', 'no invalid index is left');
	return;
}

sub as_good_as_fresh
{
	my ($index) = @_;
	my $recall = "SELECT recsys.index_recall('$index', (SELECT array_agg(noise(-i, 16)) FROM generate_series(1, 200) i), 20)";
	my $old = $node->safe_psql('postgres', $recall);
	$node->safe_psql('postgres', "REINDEX INDEX $index");
	my $new = $node->safe_psql('postgres', $recall);
	note "$index: recall\@20 $old, after REINDEX $new";
	cmp_ok($old, '>=', $new - 0.02, "$index: recall is near that of a fresh build");
	return;
}

# Of recsys_hnsw: the longer rows have made a long list.
sub has_long_list
{
	my $nodes = $node->safe_psql('postgres', q{SELECT long_nodes FROM recsys.index_stats('items_ip')});
	note "$nodes nodes on the long list";
	cmp_ok($nodes, '>', 0, 'there is a long list');
	return;
}

# memory of a backend over many scans, of inserts, and of rescans in one query
sub grows
{
	my ($name, $sql) = @_;
	# what is a file's or shared may come and go
	my $kb = "CREATE OR REPLACE FUNCTION pg_temp.rss() RETURNS int LANGUAGE sql AS
		\$\$ SELECT sum(kb[1]::int) FROM regexp_matches(pg_read_file('/proc/' || pg_backend_pid() || '/status'),
			'(?:RssAnon|VmSwap):\\s+(\\d+)', 'g') kb \$\$";
	my @kb = split /\n/, $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		$kb;
		$sql;
		SELECT pg_temp.rss();
		$sql;
		SELECT pg_temp.rss()});
	note "$name: $kb[0] kB, later $kb[1] kB";
	cmp_ok($kb[1] - $kb[0], '<', 2000, "$name: the backend does not grow");
	return;
}

sub no_growth
{
	SKIP:
	{
		skip 'no /proc: the memory of a backend cannot be read', 3 unless -r '/proc/self/status';
		grows("$queries queries", qq{DO \$\$ DECLARE q vector; BEGIN
			FOR i IN 1 .. $queries LOOP
				q := noise(i % 50, 16);
				IF i % 2 = 0 THEN
					PERFORM id FROM items ORDER BY v <-> q LIMIT 10;
				ELSE
					PERFORM id FROM items WHERE note = i % 3 ORDER BY v <-> q LIMIT 10;
				END IF;
			END LOOP; END \$\$});
		grows('10,000 rescans', q{DO $$ BEGIN
			PERFORM count(n.id) FROM generate_series(1, 10000) q,
				LATERAL (SELECT id FROM items ORDER BY v <-> noise(q % 50, 16) LIMIT 10) n; END $$});
		grows('1,000 inserts', q{DO $$ BEGIN
			INSERT INTO items SELECT nextval('next_id'), noise(nextval('next_id'), 16) FROM generate_series(1, 1000);
			END $$});
	}
	return;
}

# a cancel takes effect soon, in a scan of everything and in inserts
sub cancels
{
	for (
		[ 'scans', 'SELECT sum(n) FROM generate_series(1, 100000) q,
			LATERAL (SELECT count(*) AS n FROM (SELECT id FROM items ORDER BY v <#> noise(q, 16) LIMIT 100000) s) s' ],
		[ 'inserts', "INSERT INTO items SELECT nextval('next_id'), noise(i, 16) FROM generate_series(1, 1000000) i" ])
	{
		my ($name, $sql) = @$_;
		my $started = time();
		my ($status, $stdout, $stderr) = $node->psql('postgres',
			"SET enable_seqscan = off; SET statement_timeout = '300ms'; $sql");
		like($stderr, qr/canceling statement due to statement timeout/, "$name are cancelled");
		# 072_limits_slow.pl has what soon is
		cmp_ok(time() - $started, '<', 15, "$name: the cancel takes effect soon");
	}
	check_whole($node, 'items', 'items_v', 'after cancels');
	return;
}

# $options: of CREATE INDEX
sub concurrent_test
{
	my ($am, $options, $filters) = @_;

	set_up($am, $options // '', $filters // '');
	all_at_once();
	has_long_list() if $am eq 'recsys_hnsw';
	as_good_as_fresh($_) for 'items_v', 'items_ip';
	no_growth();
	cancels();
	$node->stop;
	done_testing();
	return;
}

1;

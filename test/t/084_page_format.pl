# An index whose pages have another format is refused by all that reads it, and
# can be dropped and built anew.
use strict;
use warnings;

use IndexDamage;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The format's number, in the tag of a page; see index_page.h.
use constant VERSION => TAG + 2;

my $node = PostgreSQL::Test::Cluster->new('format');
$node->init;
# the changed page must reach the access method, not the checksums
$node->append_conf('postgresql.conf', "ignore_checksum_failure = on\nautovacuum = off\njit = off\n");
$node->start;

# Indexes of the two access methods, of tables of their own.
my @methods = ('recsys_hnsw', 'recsys_ivfpq');
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
$node->safe_psql('postgres', qq{
	CREATE TABLE $_ (id int, k int, v vector(8));
	INSERT INTO $_ SELECT i, i % 10, (SELECT array_agg(sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 500) i;
	CREATE INDEX ${_}_v ON $_ USING $_ (v, k);
	DELETE FROM $_ WHERE id % 5 = 0}) for @methods;
my %path = map { $_ => locate($node, "${_}_v") } @methods;
my $scan = "SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM
	(SELECT id FROM %s %s ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 5) s";
my %uses = (
	'scan' => sprintf($scan, '%1$s', ''),
	'filtered scan' => sprintf($scan, '%1$s', 'WHERE k = 3'),
	'insert' => q{INSERT INTO %1$s VALUES (0, 0, '[1,2,3,4,5,6,7,8]')},
	'update' => q{UPDATE %1$s SET v = v * '[2,2,2,2,2,2,2,2]' WHERE k = 1},
	'vacuum' => 'VACUUM (INDEX_CLEANUP ON) %1$s',
	'check_index' => q{SELECT recsys.check_index('%1$s_v')},
	'index_recall' => q{SELECT recsys.index_recall('%1$s_v')},
	'stats' => q{SELECT recsys.%2$s('%1$s_v')});
my %stats = (recsys_hnsw => 'index_stats', recsys_ivfpq => 'ivfpq_stats');

for my $format (0, 99)
{
	$node->stop;
	my $ours;
	for my $method (@methods)
	{
		my $file = load($path{$method});
		$ours->{$method} = get($file, VERSION, 'C');
		put($file, VERSION, 'C', $format);
		save($file);
	}
	$node->start;
	for my $method (@methods)
	{
		for my $use (sort keys %uses)
		{
			my ($rc, $out, $err) = $node->psql('postgres', sprintf($uses{$use}, $method, $stats{$method}),
				extra_params => [ '-v', 'VERBOSITY=verbose' ]);
			like($err, qr/ERROR:  XX002: index "${method}_v" has page format $format at block 0, this version reads format $ours->{$method}\nHINT:  REINDEX the index\./,
				"$method, format $format: $use");
		}
		# the table is not concerned
		is($node->safe_psql('postgres', "SET enable_indexscan = off;
			SELECT count(*) FROM (SELECT id FROM $method ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 5) s"),
			5, "$method, format $format: a scan of the table");
		# the way out
		my $concurrently = $format ? 'CONCURRENTLY' : '';
		is($node->psql('postgres', "REINDEX INDEX $concurrently ${method}_v"), 0, "$method, format $format: REINDEX $concurrently");
		$node->safe_psql('postgres', sprintf($uses{$_}, $method, $stats{$method})) for sort keys %uses;
		$path{$method} = locate($node, "${method}_v");
	}
}

# DROP INDEX, of an index and with its table
$node->stop;
for my $method (@methods)
{
	my $file = load($path{$method});
	put($file, VERSION, 'C', 99);
	save($file);
}
$node->start;
is($node->psql('postgres', 'DROP INDEX recsys_hnsw_v'), 0, 'DROP INDEX');
is($node->psql('postgres', 'DROP INDEX CONCURRENTLY recsys_ivfpq_v'), 0, 'DROP INDEX CONCURRENTLY');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname ~ '^recsys_.*_v$'}), 0, 'both are gone');
$node->safe_psql('postgres', "INSERT INTO $_ VALUES (0, 0, '[1,2,3,4,5,6,7,8]'); VACUUM $_; DROP TABLE $_") for @methods;

$node->stop;
done_testing();

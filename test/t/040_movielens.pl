# The demo's path on MovieLens: train, load, import the tower, index, ask.
# Python's exact metrics against the database's, exact and through the index.
use strict;
use warnings;

use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = '../shared/data/ml-latest-small';
my $demo = abs_path('test/demo');
plan skip_all => "no $data" unless -r "$data/ratings.csv";

my ($python) = grep {
	run_log([ $_, '-c', 'import numpy, scipy.sparse' ])
} $ENV{PYTHON} || 'python3', '/usr/bin/python3';
plan skip_all => 'no python3 with numpy and scipy' unless $python;

my $out = PostgreSQL::Test::Utils::tempdir;
command_ok([ $python, '-B', "$demo/train.py", $out, abs_path($data) ],
	'train.py');
my %python;
for (split /\n/, slurp_file("$out/python.tsv"))
{
	my ($who, @metrics) = split /\t/;
	$python{$who} = \@metrics;
}
cmp_ok(
	$python{tower}[0], '>',
	1.5 * $python{popularity}[0],
	'recall@20 of the tower against popularity');

my $node = PostgreSQL::Test::Cluster->new('movielens');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');

# Runs a script of the demo with variables; returns what it prints.
sub script
{
	my ($name, %variable) = @_;
	my @settings = map { ('-v', "$_=$variable{$_}") } sort keys %variable;
	my ($stdout, $stderr) = run_command(
		[
			'psql', '-X', '-q', '-A', '-t', '-F', ' ',
			'-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
			@settings, '-f', "$demo/$name"
		]);
	is($stderr, '', join(' ', $name, @settings));
	return $stdout;
}

script('movielens_load.sql', dir => $out);
is( $node->safe_psql(
		'postgres',
		"SELECT recsys.import_model('films',
			pg_read_binary_file('$out/tower.safetensors'))"),
	'1',
	'import_model gives version 1');

sub metrics
{
	my ($table) = @_;
	script('top.sql', top => $table, model => 'films/user');
	return split / /, script('metrics.sql', top => $table);
}

my @exact = metrics('top_exact');
for my $k (0, 1)
{
	cmp_ok(abs($exact[$k] - $python{tower}[$k]), '<', 0.00005,
		('recall@20', 'NDCG@20')[$k] . ', database and Python, exact');
}

script('movielens_index.sql');
my @index = metrics('top_index');
cmp_ok($exact[0] - $index[0], '<=', 0.01, 'recall@20 lost by the index');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM top_index GROUP BY user_id HAVING count(*) <> 20'
	),
	'',
	'20 rows for every user');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM top_index JOIN events USING (user_id, item_id)'),
	'0',
	'nothing that the user knows');

# The statement of the demo, as a user would run it.
my $query = slurp_file("$demo/movielens_query.sql");
$query =~ s/:user\b/17/g;
my $plan = $node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $query");
like($plan, qr/Index Scan using items_embedding on items i/,
	'the planner chooses the index');
like($plan, qr/Index Cond: .*genres.*year/, 'the index checks the conditions');
unlike($plan, qr/Filter:/, 'and all of them');

# The same for 100 users at once, by the index and by a sort.
$query = slurp_file("$demo/movielens_query.sql");
$query =~ s/:user\b/f.user_id/g;
$query =~ s/;//;
$query = "SELECT f.user_id, s.title FROM user_features f, LATERAL ($query) s
	WHERE f.user_id <= 100";
my @approximate = split /\n/, $node->safe_psql('postgres',
	"SET enable_seqscan = off; SET enable_sort = off; $query");
is(scalar(@approximate), 2000, 'the statement gives 20 rows');
my %true = map { $_ => 1 } split /\n/, $node->safe_psql('postgres',
	"SET enable_indexscan = off; $query");
cmp_ok(scalar(grep { $true{$_} } @approximate), '>=', 1940,
	'of these in the exact answer');

$node->stop;
done_testing();

# Towers against the float64 reference of recsys_export.py: random towers over
# every op, by record, by jsonb and in batches; the exporter's own example; and
# what the exporter refuses.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $python = $ENV{PYTHON} || 'python3';
if (system("$python -c 'import numpy' >/dev/null 2>&1") != 0)
{
	diag("SKIP: $python has no numpy, towers are not checked against it");
	plan skip_all => "$python has no numpy";
}

my $towers = 120;
my $seed = 1;
my $limit = 1e-5;

my $node = PostgreSQL::Test::Cluster->new('parity');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
my $dir = PostgreSQL::Test::Utils::tempdir;

my ($ops, $error) = run_command(
	[ $python, 'test/tower/parity.py', $dir, $seed, $towers ]);
is($error, '', 'towers are written');
my ($used) = $ops =~ /^used: (.*)$/m;
my ($all) = $ops =~ /^all: (.*)$/m;
is($used, $all, 'the towers use every op');

# The exporter, the server and the documentation must know the same ops.
my $source = join '', map { slurp_file($_) } glob 'src/tower/ops_*.c';
my %known = map { $_ => 1 } $source =~ /^\t\{"(\w+)", \d/mg;
is(join(' ', sort keys %known), $all, 'the server has the same ops');
my ($table) = slurp_file('src/tower/README.md') =~
  /^\| op \| inputs.*?\n(.*?)\n\n/ms;
my %documented = map { $_ => 1 }
  map { /`(\w+)`/g } map { (split /\|/)[1] // '' } split /\n/, $table;
is(join(' ', sort keys %documented), $all, 'README.md describes the same ops');

my ($status, $out, $err) = $node->psql('postgres', undef,
	extra_params => [ '-v', 'ON_ERROR_STOP=1', '-f', "$dir/parity.sql" ],
	on_error_die => 0);
is($err, '', 'the towers run');
my @lines = split /\n/, $out;
is(scalar @lines, $towers, 'each gives a result');
my @worst = (0, 0, 0);
foreach my $line (@lines)
{
	my ($name, @errors) = split /\|/, $line;
	for my $k (0 .. 2)
	{
		fail("$name: $errors[$k]") unless $errors[$k] < $limit;
		$worst[$k] = $errors[$k] if $errors[$k] > $worst[$k];
	}
}
my @how = ('embed(record)', 'embed(jsonb)', 'batches of golden rows');
for my $k (0 .. 2)
{
	cmp_ok($worst[$k], '<', $limit, "$how[$k]: largest error $worst[$k]");
	cmp_ok($worst[$k], '>', 0, "$how[$k]: answers were compared");
}

# The example of the exporter's own documentation.
my $example = <<'PY';
import sys, os, textwrap
sys.path.insert(0, "tools")
import recsys_export as rx
text = rx.__doc__.split("\n\n")
code = [p for p in text if p.startswith("    ") and "SELECT" not in p]
os.chdir(sys.argv[1])
exec(textwrap.dedent("\n".join(code)))
answer = rx.forward(rx.bundle(user=user), arrays,
                    {"age": 41, "liked": ["drama", "western"]}, tower="user")
print(",".join(repr(float(x)) for x in answer))
PY
($ops, $error) = run_command([ $python, '-c', $example, $dir ]);
is($error, '', "the exporter's example runs");
is( $node->safe_psql('postgres', qq{
	SELECT recsys.import_model('movies', pg_read_binary_file('$dir/movies.safetensors')) \\g /dev/null
	SELECT max(abs(a - b)) < 1e-6
	FROM (SELECT 7 AS user_id, 41 AS age, '{drama,western}'::text[] AS liked) u,
		unnest(recsys.embed('movies/user', u)::real[], '{$ops}'::float8[]) v (a, b);
	}),
	't', 'and the server gives the same answer');

# What the exporter refuses before the server has to.
my $refusals = <<'PY';
import sys
sys.path.insert(0, "tools")
import numpy as np
import recsys_export as rx
def tower(nodes=(), features=(rx.feature("x", "float"),), output="x"):
    return rx.single(rx.tower(list(features), list(nodes), output))
def attempt(what, run):
    try:
        run()
        print(what, "passed")
    except rx.SpecError as error:
        print(what, error)
attempt("op", lambda: rx.node("attention", ["x"], "y"))
attempt("field", lambda: rx.node("leaky_relu", ["x"], "y"))
attempt("unknown", lambda: rx.node("relu", ["x"], "y", slope=1))
attempt("tensor", lambda: rx.node("linear", ["x"], "y", layout="out_in"))
attempt("both", lambda: rx.node("zscore", ["x"], "y", mean=1, std=1,
                                tensors={"std": "s"}))
attempt("type", lambda: rx.feature("x", "real"))
attempt("nan", lambda: rx.dumps(tower(), {"a": np.array([np.nan])}))
attempt("dtype", lambda: rx.dumps(tower(), {"a": np.array(["s"])}))
attempt("unused", lambda: rx.dumps(tower(), {"a": np.zeros(2)}))
attempt("missing", lambda: rx.dumps(tower(), {}, golden={"": [{}]}))
attempt("extra", lambda: rx.dumps(tower(), {}, golden={"": [{"x": 1, "z": 1}]}))
attempt("null", lambda: rx.dumps(tower(), {}, golden={"": [{"x": None}]}))
attempt("expected", lambda: rx.dumps(tower(), {}, golden={"": [{"x": 1}]},
                                     expected={"": [[1.5]]}))
attempt("good", lambda: rx.dumps(tower(), {}, golden={"": [{"x": 1}]},
                                 expected={"": [[1.0]]}))
PY
($ops, $error) = run_command([ $python, '-c', $refusals ]);
is($error, '', 'the refusals run');
is($ops, <<'OUT' =~ s/\n\z//r, 'the exporter refuses');
op node "y": unknown op "attention"
field node "y" (leaky_relu): field "slope" is missing
unknown node "y" (relu): unknown field "slope"
tensor node "y" (linear): tensor "weight" is missing
both node "y" (zscore): give "std" as a field or as a tensor, and not as both
type feature "x": unknown type "real"
nan array "a" has a NaN or an infinity
dtype array "a" has type str32
unused no node uses array "a"
missing feature "x" is missing
extra unknown feature "z"
null feature "x" is null and has no default
expected tower "", golden row 0: the expected output differs by 0.5 from the spec's
good passed
OUT

$node->stop;
done_testing();

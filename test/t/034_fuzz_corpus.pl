# The inputs of test/fuzz/corpus through SQL, without a fuzzer: each is taken or
# refused as said at the end of this file, and none is an internal error.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use JSON::PP;

my $corpus = "$ENV{SRC}/test/fuzz/corpus";
my %arrays = (23 => 'int[]', 700 => 'real[]', 701 => 'float8[]', 1700 => 'numeric[]');

my $node = PostgreSQL::Test::Cluster->new('corpus');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub write_file
{
	my ($name, $bytes) = @_;
	open(my $file, '>:raw', "$dir/$name") or die "$dir/$name: $!";
	print $file $bytes;
	close $file;
	return "$dir/$name";
}

# A file of one row and column for COPY (FORMAT binary).
sub copy_file
{
	my ($name, $value) = @_;
	return write_file($name, "PGCOPY\n\xff\r\n\0" . pack('NNnNa*n', 0, 0, 1,
		length($value), $value, 0xffff));
}

sub file_with_header
{
	my ($header, $data) = @_;
	return pack('Q<', length($header)) . $header . $data;
}

# The tensor that a name such as F32:3x2 or I64:5:b describes, as in fuzz.c.
sub tensor
{
	my ($name, $start) = @_;
	my ($type, $shape) = $name =~ /^(...):([0-9x]*)/;
	my $count = 1;
	$count *= $_ for split /x/, $shape;
	my $data = pack($type eq 'F32' ? 'f<*' : $type eq 'I64' ? 'q<*' : 'l<*',
		map { $type eq 'F32' ? ($_ % 5 + 1) / 4 : $_ } 0 .. $count - 1);
	return ($data, { dtype => $type, shape => [ map { $_ + 0 } split /x/, $shape ],
		data_offsets => [ $start, $start + length($data) ] });
}

# The file of a tower: the first two lines are its spec and its golden rows.
sub tower_file
{
	my ($spec, $golden) = @_;
	my %header = (__metadata__ => { 'recsys.spec' => $spec });
	my $all = '';
	$header{__metadata__}{'recsys.golden'} = $golden if $golden ne '';
	for my $name ($spec =~ /"((?:F32|I64|I32):[^"]*)"/g)
	{
		next if exists $header{$name};
		(my $data, $header{$name}) = tensor($name, length($all));
		$all .= $data;
	}
	return file_with_header(JSON::PP->new->latin1->canonical->encode(\%header), $all);
}

# What is done with an input of each kind: SQL that raises an error or says
# whether the value stays the same on its way through other forms.
my %script = (
	text => sub {
		my $path = write_file('text', shift);
		return "FROM (SELECT convert_from(pg_read_binary_file('$path'), 'UTF8')::vector AS v) s";
	},
	binary => sub {
		my $path = copy_file('binary', shift);
		return ("COPY vectors FROM '$path' (FORMAT binary)", 'FROM vectors');
	},
	cast => sub {
		my $type = $arrays{unpack('x8N', $_[0])};
		my $path = copy_file('cast', shift);
		return ("CREATE TEMP TABLE arrays (a $type)", "COPY arrays FROM '$path' (FORMAT binary)",
			'FROM (SELECT a::vector AS v FROM arrays) s');
	},
	file => sub {
		my $bytes = shift;
		my ($header, $data) = $bytes =~ /^(\{[^\n]*)\n(.*)$/s;
		my $path = write_file('file', defined $header ? file_with_header($header, $data) : $bytes);
		return ("SELECT recsys.import_model('m', pg_read_binary_file('$path'))",
			"SELECT recsys.verify_model('m')");
	},
	tower => sub {
		my ($spec, $golden, $row) = split /\n/, shift;
		my $path = write_file('tower', tower_file($spec, $golden));
		$row =~ s/'/''/g;
		return ("SELECT recsys.import_model('m', pg_read_binary_file('$path'))",
			"SELECT recsys.verify_model('m')",
			"FROM (SELECT recsys.embed('m', '$row'::jsonb) AS v) s");
	});

# In a transaction that is rolled back: taken, refused, changed, or the state of
# an internal error.
sub outcome
{
	my @statements = map { s/^FROM/SELECT v::text::vector = v AND v::real[]::vector = v FROM/r } @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		join(";\n", 'BEGIN', 'CREATE TEMP TABLE vectors (v vector)', @statements),
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return 'the server fell' if $rc == 2;
	return $1 if $err =~ /ERROR: +((?:XX|53)...)/;
	return 'refused' if $rc != 0;
	return $out =~ /^f$/m ? 'changed' : 'taken';
}

my $outcomes = '';
for my $path (sort glob "$corpus/*/*")
{
	my ($kind, $name) = $path =~ m{([^/]+)/([^/]+)$};
	$outcomes .= "$kind/$name: " . outcome($script{$kind}->(slurp_file($path))) . "\n";
}
is($outcomes, join('', <DATA>), 'each input is taken or refused as it must be');
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server still answers');

$node->stop;
done_testing();
__DATA__
binary/infinite: refused
binary/large: refused
binary/less: refused
binary/more: refused
binary/nan: refused
binary/negative: refused
binary/none: refused
binary/one: taken
binary/plain: taken
binary/short: refused
binary/unused: refused
cast/empty_dim: refused
cast/float4: taken
cast/float8: taken
cast/float8_large: refused
cast/float8_tiny: taken
cast/int4: taken
cast/lower_bound: taken
cast/no_dims: refused
cast/null: refused
cast/numeric: taken
cast/numeric_infinite: refused
cast/numeric_nan: refused
cast/numeric_tiny: refused
cast/overflow: refused
cast/two_dims: refused
file/bf16: taken
file/cut: refused
file/escapes: refused
file/f16: taken
file/f32: taken
file/f32_raw: taken
file/f64: taken
file/f64_large: refused
file/header_longer: refused
file/hole: refused
file/i64: refused
file/many_dims: refused
file/nan: refused
file/nested: refused
file/offsets: refused
file/overlap: refused
file/prefix: refused
file/scalar: refused
file/seven: refused
file/shape_overflow: refused
file/twice: refused
file/two: refused
text/bare: refused
text/commas: refused
text/empty: refused
text/extremes: taken
text/hex: taken
text/high: refused
text/infinity: refused
text/junk: refused
text/long: taken
text/none: refused
text/open: refused
text/plain: taken
text/range: refused
text/spaces: taken
tower/add_multiply: taken
tower/bare: taken
tower/batch_norm: taken
tower/bucketise: taken
tower/bundle: refused
tower/dcn_matrix: taken
tower/dcn_vector: taken
tower/gelu: taken
tower/hash_fnv1a: taken
tower/hash_murmur: taken
tower/identity_bag: taken
tower/l2_normalise: taken
tower/layer_norm: taken
tower/leaky_relu: taken
tower/linear: taken
tower/linear_in_out: taken
tower/relu: taken
tower/scalars: taken
tower/silu_tanh_sigmoid: taken
tower/vocabulary_int32: taken
tower/vocabulary_tensor: taken
tower/vocabulary_text: taken
tower/zscore_tensor: taken

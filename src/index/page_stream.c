/*
 * page_stream.c
 *		Pages in an order that is known some way ahead, read ahead of their use.
 */
#include "postgres.h"

#include "utils/rel.h"
#include "utils/spccache.h"

#include "base/compat.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

#ifdef COMPAT_READ_STREAM

/*
 * A page that a hint says is in a buffer is read from there, which takes half the
 * time.  Others go through the server's read stream, as far as the next one that
 * has a hint; then the stream begins anew.
 */
struct PageStream
{
	Relation	rel;
	ReadStream *stream;
	PageStreamNext next;
	void	   *arg;
	BlockNumber block;			/* comes after those of the stream */
	bool		streaming;
};

/* The stream's blocks: without a hint, up to the next that has one. */
static BlockNumber
stream_next_block(ReadStream * stream, void *private, void *per_buffer_data)
{
	PageStream *self = private;
	BlockNumber block = self->block;

	if (block == InvalidBlockNumber ||
		buffer_hint_address(self->rel, block) != NULL)
		return InvalidBlockNumber;
	self->block = self->next(self->arg);
	return block;
}

PageStream *
page_stream_begin(Relation rel, PageStreamNext next, void *arg)
{
	PageStream *self = palloc0(sizeof(PageStream));

	self->rel = rel;
	self->next = next;
	self->arg = arg;
	self->block = next(arg);
	return self;
}

/* Begin the stream with the next block. */
static void
stream_start(PageStream *self)
{
	if (self->stream == NULL)
		self->stream = read_stream_begin_relation(READ_STREAM_DEFAULT, NULL,
												  self->rel, MAIN_FORKNUM,
												  stream_next_block, self, 0);
	else
		read_stream_reset(self->stream);
	self->streaming = true;
}

Buffer
page_stream_next(PageStream *self)
{
	BlockNumber block;

	for (;;)
	{
		if (self->streaming)
		{
			Buffer		buffer = read_stream_next_buffer(self->stream, NULL);

			if (BufferIsValid(buffer))
			{
				buffer_hint_note(self->rel, buffer);
				return buffer;
			}
			self->streaming = false;
		}
		if (self->block == InvalidBlockNumber)
			return InvalidBuffer;
		if (buffer_hint_address(self->rel, self->block) != NULL)
			break;
		stream_start(self);
	}
	block = self->block;
	self->block = self->next(self->arg);
	return buffer_hint_read(self->rel, block);
}

void
page_stream_end(PageStream *self)
{
	if (self->stream != NULL)
		read_stream_end(self->stream);
	pfree(self);
}

#else							/* no read stream */

/* A page that a hint says is in a buffer is not announced. */

struct PageStream
{
	Relation	rel;
	PageStreamNext next;
	void	   *arg;
	bool		at_end;
	int			first;			/* of the announced blocks, a ring */
	int			n;
	int			max;
	BlockNumber blocks[FLEXIBLE_ARRAY_MEMBER];
};

PageStream *
page_stream_begin(Relation rel, PageStreamNext next, void *arg)
{
	int			max = get_tablespace_io_concurrency(rel->rd_rel->reltablespace);
	PageStream *stream;

	max = Max(max, 1);
	stream = palloc0(offsetof(PageStream, blocks) + sizeof(BlockNumber) * max);
	stream->rel = rel;
	stream->next = next;
	stream->arg = arg;
	stream->max = max;
	return stream;
}

/* Announce blocks until as many as allowed are on their way. */
static void
stream_announce(PageStream *stream)
{
	while (!stream->at_end && stream->n < stream->max)
	{
		BlockNumber block = stream->next(stream->arg);

		if (block == InvalidBlockNumber)
			stream->at_end = true;
		else
		{
			if (stream->max > 1 &&
				buffer_hint_address(stream->rel, block) == NULL)
				PrefetchBuffer(stream->rel, MAIN_FORKNUM, block);
			stream->blocks[(stream->first + stream->n++) % stream->max] = block;
		}
	}
}

Buffer
page_stream_next(PageStream *stream)
{
	BlockNumber block;

	stream_announce(stream);
	if (stream->n == 0)
		return InvalidBuffer;
	block = stream->blocks[stream->first];
	stream->first = (stream->first + 1) % stream->max;
	stream->n--;
	return buffer_hint_read(stream->rel, block);
}

void
page_stream_end(PageStream *stream)
{
	pfree(stream);
}

#endif

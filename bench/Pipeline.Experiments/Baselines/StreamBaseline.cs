using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>
/// Messages with their lengths before them (four bytes, big-endian) over a stream of bytes. They are gathered until
/// <see cref="BufferSize"/> is full, because a flush for each is what nobody who wants throughput would do.
/// </summary>
internal abstract class StreamBaseline : Contender
{
    protected const int BufferSize = 64 << 10;

    private const int PrefixSize = 4;

    public sealed override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        await using Ends ends = await ConnectAsync(context.CancellationToken);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
        using PrefixingSender sender = new(ends.Writer, load.Senders);
        Drain drain = new(load);
        Task receiving = Task.Run(() => ReceiveAsync(ends.Reader, drain, stop.Token), CancellationToken.None);
        Task<Drained> measuring = drain.MeasureAsync(
            context with { CancellationToken = stop.Token },
            [.. Enumerable.Repeat(sender, load.Senders)]);
        bool isReceivingOver = await Task.WhenAny(receiving, measuring) == receiving;
        if (!isReceivingOver)
        {
            await ((Task)measuring).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await stop.CancelAsync();
        await ((Task)measuring).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await receiving.ConfigureAwait(isReceivingOver ? ConfigureAwaitOptions.None : ConfigureAwaitOptions.SuppressThrowing);
        return await measuring;
    }

    /// <summary>Connects, to write at one end and read at the other.</summary>
    protected abstract Task<Ends> ConnectAsync(CancellationToken cancellationToken);

    /// <summary>Writes into, and reads from, streams.</summary>
    protected static Ends EndsOf(Loopback loopback) => new(
        PipeWriter.Create(loopback.Near, new StreamPipeWriterOptions(minimumBufferSize: BufferSize, leaveOpen: true)),
        PipeReader.Create(loopback.Far, new StreamPipeReaderOptions(bufferSize: BufferSize, leaveOpen: true)),
        loopback);

    private static async Task ReceiveAsync(PipeReader reader, Drain drain, CancellationToken cancellationToken)
    {
        byte[] whole = new byte[drain.Load.Size];
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellationToken);
            ReadOnlySequence<byte> rest = result.Buffer;
            while (TryTake(ref rest, out ReadOnlySequence<byte> message))
            {
                if (message.IsSingleSegment)
                {
                    drain.Receive(message.FirstSpan);
                }
                else
                {
                    message.CopyTo(whole);
                    drain.Receive(whole.AsSpan(0, (int)message.Length));
                }
            }

            reader.AdvanceTo(rest.Start, rest.End);
            if (result.IsCompleted)
            {
                throw new IOException("The stream ended in the middle of the experiment.");
            }
        }
    }

    private static bool TryTake(ref ReadOnlySequence<byte> rest, out ReadOnlySequence<byte> message)
    {
        message = default;
        if (rest.Length < PrefixSize)
        {
            return false;
        }

        Span<byte> prefix = stackalloc byte[PrefixSize];
        rest.Slice(0, PrefixSize).CopyTo(prefix);
        int length = BinaryPrimitives.ReadInt32BigEndian(prefix);
        if (rest.Length - PrefixSize < length)
        {
            return false;
        }

        message = rest.Slice(PrefixSize, length);
        rest = rest.Slice(message.End);
        return true;
    }

    /// <summary>Where messages are written and where they come out, and what is to be closed with them.</summary>
    protected sealed record Ends(PipeWriter Writer, PipeReader Reader, params IReadOnlyList<IAsyncDisposable> Owned) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            foreach (IAsyncDisposable owned in Owned)
            {
                await owned.DisposeAsync();
            }
        }
    }

    // Senders share the writer; one that is alone needs no gate.
    private sealed class PrefixingSender(PipeWriter writer, int senders) : IMessageSender, IDisposable
    {
        private readonly SemaphoreSlim? _gate = senders > 1 ? new SemaphoreSlim(1) : null;
        private int _gathered;

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            if (_gate is not null)
            {
                return SendInTurnAsync(message, cancellationToken);
            }

            Write(message.Span);
            return _gathered < BufferSize ? ValueTask.CompletedTask : FlushGatheredAsync(cancellationToken);
        }

        public async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            await (_gate?.WaitAsync(cancellationToken) ?? Task.CompletedTask);
            await FlushGatheredAsync(cancellationToken);
            _gate?.Release();
        }

        public void Dispose() => _gate?.Dispose();

        private async ValueTask SendInTurnAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            await _gate!.WaitAsync(cancellationToken);
            Write(message.Span);
            if (_gathered >= BufferSize)
            {
                await FlushGatheredAsync(cancellationToken);
            }

            _gate.Release();
        }

        private void Write(ReadOnlySpan<byte> message)
        {
            BinaryPrimitives.WriteInt32BigEndian(writer.GetSpan(PrefixSize), message.Length);
            writer.Advance(PrefixSize);
            writer.Write(message);
            _gathered += PrefixSize + message.Length;
        }

        private async ValueTask FlushGatheredAsync(CancellationToken cancellationToken)
        {
            _gathered = 0;
            FlushResult result = await writer.FlushAsync(cancellationToken);
            if (result.IsCompleted)
            {
                throw new IOException("Nobody reads any more in the middle of the experiment.");
            }
        }
    }
}

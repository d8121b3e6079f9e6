using System.Buffers;
using System.IO.Pipelines;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>
/// Messages with their lengths before them over a stream of bytes. They are gathered until <see cref="BufferSize"/> is full, because a flush
/// for each is what nobody who wants throughput would do.
/// </summary>
internal abstract class StreamBaseline : Contender
{
    protected const int BufferSize = 64 << 10;

    public sealed override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        await using Ends ends = await ConnectAsync(context.CancellationToken);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
        using SemaphoreSlim gate = new(1);
        IReadOnlyList<IMessageSender> senders = load.Senders == 1
            ? [new OnlySender(ends.Writer)]
            : [.. Enumerable.Range(0, load.Senders).Select(_ => new SharingSender(ends.Writer, gate))];
        Drain drain = new(load);
        Task receiving = Task.Run(() => Prefixed.ReceiveAsync(ends.Reader, drain.Receive, stop.Token), CancellationToken.None);
        Task<Drained> measuring = drain.MeasureAsync(context with { CancellationToken = stop.Token }, senders);
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
    protected static Ends EndsOf(Loopback loopback) => new(loopback.CreateWriter(BufferSize), loopback.CreateReader(BufferSize), loopback);

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

    // Gathers in the writer, which is its own.
    private sealed class OnlySender(PipeWriter writer) : IMessageSender
    {
        private long _gathered;

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            Prefixed.Write(writer, message.Span);
            _gathered += message.Length;
            return _gathered < BufferSize ? ValueTask.CompletedTask : FlushAsync(cancellationToken);
        }

        public ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            _gathered = 0;
            return Prefixed.FlushAsync(writer, cancellationToken);
        }
    }

    // Gathers for itself, so that senders meet once a buffer and not once a message.
    private sealed class SharingSender(PipeWriter writer, SemaphoreSlim gate) : IMessageSender
    {
        private readonly ArrayBufferWriter<byte> _gathered = new(BufferSize);

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            Prefixed.Write(_gathered, message.Span);
            return _gathered.WrittenCount < BufferSize ? ValueTask.CompletedTask : FlushAsync(cancellationToken);
        }

        public async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            await gate.WaitAsync(cancellationToken);
            try
            {
                await Prefixed.WriteAsync(writer, _gathered.WrittenMemory, cancellationToken);
            }
            finally
            {
                gate.Release();
            }

            _gathered.ResetWrittenCount();
        }
    }
}

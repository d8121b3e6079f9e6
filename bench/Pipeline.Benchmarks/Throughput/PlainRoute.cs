using System.IO.Pipelines;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks.Throughput;

/// <summary>The dataflow of a connection over a bare socket: what <see cref="SwitchRoute"/> has beyond this are frames and their cipher.</summary>
internal sealed class PlainRoute : Route
{
    private const int BufferSize = 64 * 1024;

    private readonly Stream _near;
    private readonly Stream _far;
    private readonly Outflow _outflow = new(Channel);
    private readonly Inflow _inflow;
    private readonly Task _sending;
    private readonly Task _receiving;

    private PlainRoute(Stream near, Stream far, Action handle)
    {
        _near = near;
        _far = far;
        _inflow = new Inflow(Channel, envelope =>
        {
            handle();
            envelope.Release();
        });
        PipeWriter output = PipeWriter.Create(near, new StreamPipeWriterOptions(minimumBufferSize: BufferSize));
        PipeReader input = PipeReader.Create(far, new StreamPipeReaderOptions(bufferSize: BufferSize));
        _sending = Task.Run(() => _outflow.RunAsync(output));
        _receiving = Task.Run(() => _inflow.RunAsync(input));
        Ended = Task.WhenAny(_sending, _receiving);
    }

    public override Task Ended { get; }

    public static async Task<Route> ConnectAsync(Action handle)
    {
        (Stream near, Stream far) = await Loopback.ConnectAsync();
        return new PlainRoute(near, far, handle);
    }

    public override async ValueTask DisposeAsync()
    {
        _outflow.Complete();
        await _sending;
        await _near.DisposeAsync();
        await _receiving;
        await _far.DisposeAsync();
        _inflow.Dispose();
    }

    protected override SendResult TrySend(ReadOnlySpan<byte> message) => _outflow.TrySend(message);

    protected override ValueTask<SendResult> SendAsync(SerializedMessage message) => _outflow.SendAsync(message);
}

using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>The ceiling of what goes over <see cref="System.Net.Security.SslStream"/>: writes of 64 KiB, which it makes into its own records.</summary>
internal sealed class TlsCeiling : Ceiling
{
    public override string Name => "tls-ceiling";

    protected override Task<Loopback> ConnectAsync(CancellationToken cancellationToken) => Loopback.ConnectWithTlsAsync(cancellationToken);

    protected override Blocks CreateBlocks(RunContext context) => new Bytes(context.CreatePayload(BlockSize));

    private sealed class Bytes(byte[] block) : Blocks
    {
        public override int DataSize => BlockSize;

        public override ReadOnlySpan<byte> Seal() => block;

        public override int Open(ReadOnlySpan<byte> received, out int data) => data = received.Length;

        public override void Dispose()
        {
        }
    }
}

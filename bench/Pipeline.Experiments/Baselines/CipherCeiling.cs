using System.Security.Cryptography;
using Pipeline.Cryptography;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>The ceiling of a secret connection: its frames and its cipher, called as it calls it.</summary>
internal sealed class CipherCeiling : Ceiling
{
    public override string Name => "ceiling";

    protected override Task<Loopback> ConnectAsync(CancellationToken cancellationToken) => Loopback.ConnectAsync(cancellationToken);

    protected override Blocks CreateBlocks(RunContext context) => new Frames(context.CreatePayload(FrameCipher.OpenSize));

    private sealed class Frames(byte[] frame) : Blocks
    {
        private const int KeySize = 32;
        private const int FramesOfBlock = BlockSize / FrameCipher.SealedSize;

        private readonly FrameCipher _sealing = new(new byte[KeySize]);
        private readonly FrameCipher _opening = new(new byte[KeySize]);
        private readonly byte[] _block = new byte[FramesOfBlock * FrameCipher.SealedSize];
        private readonly byte[] _opened = new byte[FrameCipher.OpenSize];

        public override int DataSize => FramesOfBlock * FrameCipher.MaxDataSize;

        public override ReadOnlySpan<byte> Seal()
        {
            for (int at = 0; at < _block.Length; at += FrameCipher.SealedSize)
            {
                _sealing.Seal(frame, _block.AsSpan(at, FrameCipher.SealedSize));
            }

            return _block;
        }

        public override int Open(ReadOnlySpan<byte> received, out int data)
        {
            int frames = received.Length / FrameCipher.SealedSize;
            for (int i = 0; i < frames; i++)
            {
                if (!_opening.TryOpen(received.Slice(i * FrameCipher.SealedSize, FrameCipher.SealedSize), _opened))
                {
                    throw new CryptographicException("What came is not what was sealed.");
                }
            }

            data = frames * FrameCipher.MaxDataSize;
            return frames * FrameCipher.SealedSize;
        }

        public override void Dispose()
        {
            _sealing.Dispose();
            _opening.Dispose();
        }
    }
}

using System.Buffers.Binary;
using System.Security.Cryptography;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>The ceiling of a secret connection: its frames and its cipher.</summary>
internal sealed class CipherCeiling : Ceiling
{
    public override string Name => "ceiling";

    protected override Task<Loopback> ConnectAsync(CancellationToken cancellationToken) => Loopback.ConnectAsync(cancellationToken);

    protected override Blocks CreateBlocks(RunContext context) => new Frames(context.CreatePayload(Frames.OpenSize));

    private sealed class Frames(byte[] frame) : Blocks
    {
        public const int OpenSize = FrameDataSize + 4;

        private const int FrameDataSize = 1024;
        private const int TagSize = 16;
        private const int NonceSize = 12;
        private const int SealedSize = OpenSize + TagSize;
        private const int FramesOfBlock = BlockSize / SealedSize;

        private readonly ChaCha20Poly1305 _sealing = new(new byte[32]);
        private readonly ChaCha20Poly1305 _opening = new(new byte[32]);
        private readonly byte[] _block = new byte[FramesOfBlock * SealedSize];
        private readonly byte[] _opened = new byte[OpenSize];
        private ulong _sealedFrames;
        private ulong _openedFrames;

        public override int DataSize => FramesOfBlock * FrameDataSize;

        public override ReadOnlySpan<byte> Seal()
        {
            Span<byte> nonce = stackalloc byte[NonceSize];
            nonce.Clear();
            for (int at = 0; at < _block.Length; at += SealedSize)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(nonce[4..], _sealedFrames++);
                _sealing.Encrypt(nonce, frame, _block.AsSpan(at, OpenSize), _block.AsSpan(at + OpenSize, TagSize));
            }

            return _block;
        }

        public override int Open(ReadOnlySpan<byte> received, out int data)
        {
            Span<byte> nonce = stackalloc byte[NonceSize];
            nonce.Clear();
            int frames = received.Length / SealedSize;
            for (int i = 0; i < frames; i++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(nonce[4..], _openedFrames++);
                _opening.Decrypt(nonce, received.Slice(i * SealedSize, OpenSize), received.Slice((i * SealedSize) + OpenSize, TagSize), _opened);
            }

            data = frames * FrameDataSize;
            return frames * SealedSize;
        }

        public override void Dispose()
        {
            _sealing.Dispose();
            _opening.Dispose();
        }
    }
}

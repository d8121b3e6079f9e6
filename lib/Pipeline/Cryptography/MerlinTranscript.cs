using System.Buffers.Binary;

namespace Pipeline.Cryptography;

/// <summary>
/// A Merlin transcript: both sides of a protocol append what they have seen and draw the same challenge from it
/// (merlin.cool, version 1.0).
/// </summary>
internal sealed class MerlinTranscript
{
    private readonly Strobe128 _strobe;

    public MerlinTranscript(ReadOnlySpan<byte> protocolLabel)
    {
        _strobe = new Strobe128("Merlin v1.0"u8);
        AppendMessage("dom-sep"u8, protocolLabel);
    }

    public void AppendMessage(ReadOnlySpan<byte> label, ReadOnlySpan<byte> message)
    {
        Label(label, message.Length);
        _strobe.AssociatedData(message);
    }

    public void ExtractBytes(ReadOnlySpan<byte> label, Span<byte> output)
    {
        Label(label, output.Length);
        _strobe.PseudoRandom(output);
    }

    private void Label(ReadOnlySpan<byte> label, int length)
    {
        Span<byte> size = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(size, (uint)length);
        _strobe.MetaAssociatedData(label, more: false);
        _strobe.MetaAssociatedData(size, more: true);
    }
}

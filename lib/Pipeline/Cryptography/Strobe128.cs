using System.Buffers.Binary;

namespace Pipeline.Cryptography;

/// <summary>
/// The part of STROBE-128 that Merlin transcripts need: meta-AD, AD and PRF (STROBE protocol framework, version 1.0.2).
/// </summary>
internal sealed class Strobe128
{
    private const int StateSize = 8 * Keccak.Lanes;

    // 200 bytes of state less twice the security level of 128 bits, less 2 bytes that STROBE pads each block with.
    private const int Rate = StateSize - 32 - 2;

    private const byte FlagInbound = 1;
    private const byte FlagApplication = 1 << 1;
    private const byte FlagCipher = 1 << 2;
    private const byte FlagMeta = 1 << 4;

    // Invariant: _position <= Rate is where the next byte goes; _begin is one past where the running operation began in this
    // block, 0 when it began in an earlier one.
    private readonly byte[] _state = new byte[StateSize];
    private int _position;
    private int _begin;

    public Strobe128(ReadOnlySpan<byte> protocolLabel)
    {
        ReadOnlySpan<byte> domain = [1, Rate + 2, 1, 0, 1, 12 * 8];
        domain.CopyTo(_state);
        "STROBEv1.0.2"u8.CopyTo(_state.AsSpan(domain.Length));
        Permute();
        MetaAssociatedData(protocolLabel, more: false);
    }

    public void MetaAssociatedData(ReadOnlySpan<byte> data, bool more)
    {
        BeginOperation(FlagMeta | FlagApplication, more);
        Absorb(data);
    }

    public void AssociatedData(ReadOnlySpan<byte> data)
    {
        BeginOperation(FlagApplication, more: false);
        Absorb(data);
    }

    public void PseudoRandom(Span<byte> output)
    {
        BeginOperation(FlagInbound | FlagApplication | FlagCipher, more: false);
        for (int i = 0; i < output.Length; i++)
        {
            output[i] = _state[_position];
            _state[_position] = 0;
            Advance();
        }
    }

    // More data of the same operation continues it without a new header.
    private void BeginOperation(byte flags, bool more)
    {
        if (more)
        {
            return;
        }

        byte previous = (byte)_begin;
        _begin = _position + 1;
        Absorb([previous, flags]);
        if ((flags & FlagCipher) != 0 && _position != 0)
        {
            RunPermutation();
        }
    }

    private void Absorb(ReadOnlySpan<byte> data)
    {
        foreach (byte b in data)
        {
            _state[_position] ^= b;
            Advance();
        }
    }

    private void Advance()
    {
        if (++_position == Rate)
        {
            RunPermutation();
        }
    }

    private void RunPermutation()
    {
        _state[_position] ^= (byte)_begin;
        _state[_position + 1] ^= 0x04;
        _state[Rate + 1] ^= 0x80;
        Permute();
        _position = 0;
        _begin = 0;
    }

    private void Permute()
    {
        Span<ulong> lanes = stackalloc ulong[Keccak.Lanes];
        for (int i = 0; i < lanes.Length; i++)
        {
            lanes[i] = BinaryPrimitives.ReadUInt64LittleEndian(_state.AsSpan(8 * i));
        }

        Keccak.Permute(lanes);
        for (int i = 0; i < lanes.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_state.AsSpan(8 * i), lanes[i]);
        }
    }
}

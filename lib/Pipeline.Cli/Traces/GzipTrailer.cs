using System.Buffers.Binary;

namespace Pipeline.Cli.Traces;

/// <summary>
/// Keeps the last bytes of a gzip file, which say how many bytes it unpacks to: <see cref="System.IO.Compression.GZipStream"/> takes a file that
/// was cut short for one that has ended (RFC 1952, ISIZE).
/// </summary>
internal sealed class GzipTrailer(Stream stream, byte[] start) : Stream
{
    private readonly byte[] _last = new byte[sizeof(uint)];
    private int _startRead;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Whether the file says that it unpacks to <paramref name="length"/> bytes, modulo 2^32.</summary>
    public bool Confirms(long length)
    {
        Span<byte> rest = stackalloc byte[256];
        while (Read(rest) > 0)
        {
        }

        return BinaryPrimitives.ReadUInt32LittleEndian(_last) == (uint)length;
    }

    public override int Read(Span<byte> buffer)
    {
        int read;
        if (_startRead < start.Length)
        {
            read = Math.Min(buffer.Length, start.Length - _startRead);
            start.AsSpan(_startRead, read).CopyTo(buffer);
            _startRead += read;
        }
        else
        {
            read = stream.Read(buffer);
        }

        ReadOnlySpan<byte> tail = buffer[Math.Max(0, read - _last.Length)..read];
        _last.AsSpan(tail.Length).CopyTo(_last);
        tail.CopyTo(_last.AsSpan(_last.Length - tail.Length));
        return read;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

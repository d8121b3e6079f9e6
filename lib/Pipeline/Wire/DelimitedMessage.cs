using System.Buffers;
using Google.Protobuf;

namespace Pipeline.Wire;

/// <summary>What can be wrong with a delimited message.</summary>
public enum DelimitedMessageFault
{
    /// <summary>The length before the message is not a varint of at most 64 bits.</summary>
    MalformedLength,

    /// <summary>The message is longer than its reader accepts.</summary>
    TooLong,

    /// <summary>The stream ended inside the message or before it.</summary>
    EndOfStream,

    /// <summary>The message is not of the expected protobuf type.</summary>
    Malformed,
}

/// <summary>A varint-delimited message could not be read.</summary>
public sealed class DelimitedMessageException : FormatException
{
    /// <summary>Creates the exception.</summary>
    public DelimitedMessageException(DelimitedMessageFault fault, string message, Exception? innerException = null)
        : base(message, innerException) => Fault = fault;

    /// <summary>What is wrong with the message.</summary>
    public DelimitedMessageFault Fault { get; }
}

/// <summary>
/// Single protobuf messages with their length before them as a varint, as each step of a handshake exchanges one. For the packets
/// that follow, see <see cref="PacketCodec"/>.
/// </summary>
public static class DelimitedMessage
{
    /// <summary>The bytes of <paramref name="message"/> with its length before them.</summary>
    public static byte[] Encode(IMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        int size = message.CalculateSize();
        byte[] bytes = new byte[Varint.Length((ulong)size) + size];
        int prefix = Varint.Write(bytes, (ulong)size);
        message.WriteTo(bytes.AsSpan(prefix));
        return bytes;
    }

    /// <summary>
    /// Reads one message and not a byte more, because what follows on the stream may be of another layer.
    /// </summary>
    /// <param name="stream">Where the message comes from.</param>
    /// <param name="parser">The parser of the expected type.</param>
    /// <param name="maxSize">The most bytes the message may have. What is longer is refused on sight of its length.</param>
    /// <param name="what">What the message is called in errors, article included.</param>
    /// <param name="cancellationToken">Ends the wait; bytes that were read until then are lost.</param>
    /// <exception cref="DelimitedMessageException">The bytes are not such a message.</exception>
    public static ValueTask<T> ReadAsync<T>(Stream stream, MessageParser<T> parser, int maxSize, string what, CancellationToken cancellationToken)
        where T : class, IMessage<T> =>
        ReadAsync(stream, parser, maxSize, readAtOnce: 1, what, cancellationToken);

    /// <param name="stream">Where the message comes from.</param>
    /// <param name="parser">The parser of the expected type.</param>
    /// <param name="maxSize">The most bytes the message may have.</param>
    /// <param name="readAtOnce">
    /// How many bytes may be read without having seen the length: those of the shortest message, with its length, that is not refused anyway.
    /// </param>
    /// <param name="what">What the message is called in errors, article included.</param>
    /// <param name="cancellationToken">Ends the wait; bytes that were read until then are lost.</param>
    internal static async ValueTask<T> ReadAsync<T>(
        Stream stream,
        MessageParser<T> parser,
        int maxSize,
        int readAtOnce,
        string what,
        CancellationToken cancellationToken)
        where T : class, IMessage<T>
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(parser);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(readAtOnce, Varint.MaxLength + Math.Min(maxSize, 16 * 1024)));
        try
        {
            (int length, int prefix, int read) = await ReadLengthAsync(stream, buffer, maxSize, readAtOnce, what, cancellationToken).ConfigureAwait(false);
            int end = prefix + length;
            if (end > buffer.Length)
            {
                byte[] larger = ArrayPool<byte>.Shared.Rent(end);
                buffer.AsSpan(0, read).CopyTo(larger);
                ArrayPool<byte>.Shared.Return(buffer);
                buffer = larger;
            }

            if (read < end)
            {
                read += await stream.ReadAtLeastAsync(buffer.AsMemory(read, end - read), end - read, throwOnEndOfStream: false, cancellationToken)
                    .ConfigureAwait(false);
            }

            return read < end
                ? throw new DelimitedMessageException(
                    DelimitedMessageFault.EndOfStream,
                    $"The stream ended after {read - prefix} of the {length} bytes of {what}.")
                : Parse(parser, buffer.AsSpan(prefix, length), what);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        static T Parse(MessageParser<T> parser, ReadOnlySpan<byte> bytes, string what)
        {
            try
            {
                return parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException e)
            {
                throw new DelimitedMessageException(
                    DelimitedMessageFault.Malformed,
                    $"{bytes.Length} bytes cannot be read as {what}: {e.Message}",
                    e);
            }
        }

        static async ValueTask<(int Length, int Prefix, int Read)> ReadLengthAsync(
            Stream stream,
            byte[] buffer,
            int maxSize,
            int readAtOnce,
            string what,
            CancellationToken cancellationToken)
        {
            for (int read = 0; ;)
            {
                int count = await stream.ReadAsync(buffer.AsMemory(read, read == 0 ? readAtOnce : 1), cancellationToken).ConfigureAwait(false);
                if (count == 0)
                {
                    throw new DelimitedMessageException(
                        DelimitedMessageFault.EndOfStream,
                        read == 0 ? $"The stream ended before {what}." : $"The stream ended inside the length of {what}.");
                }

                read += count;
                OperationStatus status = Varint.TryRead(buffer.AsSpan(0, read), out ulong length, out int prefix);
                if (status == OperationStatus.Done)
                {
                    return length <= (ulong)maxSize
                        ? ((int)length, prefix, read)
                        : throw new DelimitedMessageException(
                            DelimitedMessageFault.TooLong,
                            $"A length of {length} bytes was announced for {what}; the most is {maxSize}.");
                }

                if (status == OperationStatus.InvalidData || read >= Varint.MaxLength)
                {
                    throw new DelimitedMessageException(
                        DelimitedMessageFault.MalformedLength,
                        $"The length of {what} is not a varint of at most 64 bits.");
                }
            }
        }
    }
}

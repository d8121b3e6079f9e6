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
    public static async ValueTask<T> ReadAsync<T>(Stream stream, MessageParser<T> parser, int maxSize, string what, CancellationToken cancellationToken)
        where T : class, IMessage<T>
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(parser);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(Varint.MaxLength, Math.Min(maxSize, 16 * 1024)));
        try
        {
            int length = await ReadLengthAsync(stream, buffer, maxSize, what, cancellationToken).ConfigureAwait(false);
            if (length > buffer.Length)
            {
                byte[] larger = ArrayPool<byte>.Shared.Rent(length);
                ArrayPool<byte>.Shared.Return(buffer);
                buffer = larger;
            }

            int read = await stream.ReadAtLeastAsync(buffer.AsMemory(0, length), length, throwOnEndOfStream: false, cancellationToken)
                .ConfigureAwait(false);
            return read < length
                ? throw new DelimitedMessageException(
                    DelimitedMessageFault.EndOfStream,
                    $"The stream ended after {read} of the {length} bytes of {what}.")
                : Parse(parser, buffer.AsSpan(0, length), what);
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

        static async ValueTask<int> ReadLengthAsync(Stream stream, byte[] buffer, int maxSize, string what, CancellationToken cancellationToken)
        {
            for (int read = 1; ; read++)
            {
                if (await stream.ReadAsync(buffer.AsMemory(read - 1, 1), cancellationToken).ConfigureAwait(false) == 0)
                {
                    throw new DelimitedMessageException(
                        DelimitedMessageFault.EndOfStream,
                        read == 1 ? $"The stream ended before {what}." : $"The stream ended inside the length of {what}.");
                }

                OperationStatus status = Varint.TryRead(buffer.AsSpan(0, read), out ulong length, out _);
                if (status == OperationStatus.Done)
                {
                    return length <= (ulong)maxSize
                        ? (int)length
                        : throw new DelimitedMessageException(
                            DelimitedMessageFault.TooLong,
                            $"A length of {length} bytes was announced for {what}; the most is {maxSize}.");
                }

                if (status == OperationStatus.InvalidData || read == Varint.MaxLength)
                {
                    throw new DelimitedMessageException(
                        DelimitedMessageFault.MalformedLength,
                        $"The length of {what} is not a varint of at most 64 bits.");
                }
            }
        }
    }
}

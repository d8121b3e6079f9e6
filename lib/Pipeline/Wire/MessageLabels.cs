using System.Buffers;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Pipeline.Wire;

/// <summary>
/// Names the messages of one type as the reference's metrics do, by the last part of the package and the type of what is inside:
/// <c>consensus_NewRoundStep</c>. Looks at the bytes of a message, so that one that nobody parses has a name as well.
/// </summary>
internal sealed class MessageLabels
{
    // A remote may put anything before what says the kind; nodes of the reference put nothing there.
    private const int MaxFieldsToSkip = 16;

    private readonly string _own;

    // Invariant: has the name of each kind by its field; null when there is only one kind.
    private readonly Dictionary<uint, string>? _kinds;

    public MessageLabels(MessageDescriptor type)
    {
        _own = NameOf(type);
        if (type.RealOneofCount > 0)
        {
            _kinds = type.Oneofs[0].Fields.ToDictionary(
                field => (uint)field.FieldNumber,
                field => field.FieldType == FieldType.Message ? NameOf(field.MessageType) : _own);
        }
    }

    /// <summary>The names of the messages that a parser makes.</summary>
    public static MessageLabels Of<TMessage>(MessageParser<TMessage> parser)
        where TMessage : class, IMessage<TMessage> => new(parser.ParseFrom(ReadOnlySpan<byte>.Empty).Descriptor);

    /// <summary>The name of a message; <see cref="MessageName.Unknown"/> for a kind that the schema does not know.</summary>
    public string Of(ReadOnlySpan<byte> message)
    {
        if (_kinds is null)
        {
            return _own;
        }

        for (int i = 0; i < MaxFieldsToSkip && TryReadVarint(ref message, out ulong tag); i++)
        {
            if (_kinds.TryGetValue((uint)(tag >> 3), out string? name))
            {
                return name;
            }

            if (!TrySkip(ref message, (WireFormat.WireType)(tag & 7)))
            {
                break;
            }
        }

        return MessageName.Unknown;
    }

    private static string NameOf(MessageDescriptor type)
    {
        string name = type.Name;
        for (MessageDescriptor? outer = type.ContainingType; outer is not null; outer = outer.ContainingType)
        {
            name = $"{outer.Name}_{name}";
        }

        string package = type.File.Package[(type.File.Package.LastIndexOf('.') + 1)..];
        return package.Length == 0 ? name : $"{package}_{name}";
    }

    private static bool TrySkip(ref ReadOnlySpan<byte> message, WireFormat.WireType type)
    {
        ulong length;
        switch (type)
        {
            case WireFormat.WireType.Varint:
                return TryReadVarint(ref message, out _);
            case WireFormat.WireType.Fixed64:
                length = sizeof(ulong);
                break;
            case WireFormat.WireType.Fixed32:
                length = sizeof(uint);
                break;
            case WireFormat.WireType.LengthDelimited when TryReadVarint(ref message, out length):
                break;
            default:
                return false;
        }

        if (length > (ulong)message.Length)
        {
            return false;
        }

        message = message[(int)length..];
        return true;
    }

    private static bool TryReadVarint(ref ReadOnlySpan<byte> message, out ulong value)
    {
        bool isRead = Varint.TryRead(message, out value, out int length) == OperationStatus.Done;
        message = isRead ? message[length..] : message;
        return isRead;
    }
}

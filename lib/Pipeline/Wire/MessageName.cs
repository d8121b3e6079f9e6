using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Pipeline.Wire;

/// <summary>Names what a message is, for logs, metrics and views.</summary>
public static class MessageName
{
    /// <summary>What <see cref="Of"/> says of a message of a kind that its schema does not know, or of no kind at all.</summary>
    public const string Unknown = "unknown";

    /// <summary>
    /// The name of what <paramref name="message"/> is: the field that is set, as <c>new_round_step</c> or <c>txs</c>, for a message
    /// that is one of several kinds; its own name, as <c>evidence_list</c>, for any other.
    /// </summary>
    /// <exception cref="ArgumentNullException"><paramref name="message"/> is null.</exception>
    public static string Of(IMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        MessageDescriptor type = message.Descriptor;
        return type.RealOneofCount == 0
            ? JsonNamingPolicy.SnakeCaseLower.ConvertName(type.Name)
            : type.Oneofs[0].Accessor.GetCaseFieldDescriptor(message)?.Name ?? Unknown;
    }
}

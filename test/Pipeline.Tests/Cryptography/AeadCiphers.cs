using Pipeline.Cryptography;

namespace Pipeline.Tests.Cryptography;

/// <summary>The implementations of the frames' cipher that can be used here.</summary>
internal static class AeadCiphers
{
    public static IReadOnlyList<Func<byte[], AeadCipher>> OfThisPlatform { get; } =
    [
        key => new SodiumAead(key),
        .. System.Security.Cryptography.ChaCha20Poly1305.IsSupported ? [key => new FrameworkAead(key)] : (Func<byte[], AeadCipher>[])[],
        .. OpenSslAead.IsSupported ? [key => new OpenSslAead(key)] : (Func<byte[], AeadCipher>[])[],
    ];
}

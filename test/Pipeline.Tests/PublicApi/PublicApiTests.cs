using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.PublicApi;

/// <summary>Holds what the libraries show to their users, so that a change of it is seen and meant.</summary>
public sealed class PublicApiTests
{
    private static IEnumerable<string> Libraries =>
        ((string[])["Pipeline", "Pipeline.Hosting", "Pipeline.Protocols", "Pipeline.Protocols.Sqlite", "Pipeline.Testing"]).Where(name => File.Exists(PathOf(name)));

    [TestCaseSource(nameof(Libraries))]
    public void The_public_api_is_the_one_that_was_accepted(string library) =>
        Accepted.AssertFile($"test/Pipeline.Tests/PublicApi/{library}.txt", Read(MetadataReference.CreateFromFile(PathOf(library))));

    [Test]
    public void The_text_shows_what_users_can_see_and_nothing_else()
    {
        using MemoryStream stream = new();
        EmitResult emitted = Compiler.Compile(Source).Emit(stream);
        Assert.That(emitted.Success, Is.True, string.Join('\n', emitted.Diagnostics));
        Assert.That(
            Accepted.Difference(Expected.ReplaceLineEndings("\n").Split('\n'), Read(MetadataReference.CreateFromImage(stream.ToArray()))),
            Is.Empty);
    }

    private const string Source = """
        namespace A
        {
            public enum Kind : byte { Second = 2, First = 1 }

            public abstract class Base<T> where T : class, IDisposable, new()
            {
                internal Base() { }
                protected internal virtual string? Find(string name, int times = 3, CancellationToken token = default) => null;
                private protected void Hidden() { }
                protected abstract T Make(in int number, params T?[] others);
                public string Name { get; protected set; } = "";
                public int Count { get; private set; }
                public required long? Limit { get; init; }
                public event EventHandler? Changed { add { } remove { } }
            }

            public sealed class Leaf
            {
                protected int _unreachable;
                public const string Text = "a";
                public static readonly int[] Numbers = [];
                public string this[int index] => "";
                public static explicit operator int(Leaf leaf) => 0;
                internal void Hidden() { }
                public sealed class Inner { public Inner(ref int number, out string? text) => text = null; }
                private sealed class Secret;
            }

            public sealed record Pair(string Left, int? Right = null) { public override string ToString() => ""; }
            public readonly record struct Point(int X, int Y);
            public readonly struct Plain;
            public delegate TOut? Turn<in TIn, out TOut>(TIn input) where TIn : notnull;
            public interface IThing : IDisposable { void Do(); int More => 1; }
            public static class Extensions { public static void Extend<T>(this T thing, Action<T?> action) where T : struct, IThing { } }
            internal static class Hidden;
        }
        """;

    private const string Expected = """
        public abstract class A.Base<T> where T : class, System.IDisposable, new()
            public event System.EventHandler? Changed
            public int Count { get; }
            protected virtual string? Find(string name, int times = 3, System.Threading.CancellationToken token = default)
            public required long? Limit { get; init; }
            protected abstract T Make(in int number, params T?[] others)
            public string Name { get; protected set; }
        public static class A.Extensions
            public static void Extend<T>(this T thing, System.Action<T?> action) where T : struct, A.IThing
        public interface A.IThing : System.IDisposable
            void Do()
            virtual int More { get; }
        public enum A.Kind : byte
            First = 1
            Second = 2
        public sealed class A.Leaf
            public Leaf()
            public static readonly int[] Numbers
            public const string Text = "a"
            public static explicit operator int(A.Leaf leaf)
            public string this[int index] { get; }
        public sealed class A.Leaf.Inner
            public Inner(ref int number, out string? text)
        public sealed record A.Pair
            public Pair(string Left, int? Right = null)
            public string Left { get; init; }
            public int? Right { get; init; }
            public override string ToString()
        public readonly struct A.Plain
        public readonly record struct A.Point
            public Point(int X, int Y)
            public int X { get; init; }
            public int Y { get; init; }
        public delegate TOut? A.Turn<in TIn, out TOut>(TIn input) where TIn : notnull
        """;

    private static IReadOnlyList<string> Read(MetadataReference library)
    {
        CSharpCompilation compilation = Compiler.Compile("").AddReferences(library);
        return ApiText.Of((IAssemblySymbol)compilation.GetAssemblyOrModuleSymbol(library)!);
    }

    private static string PathOf(string library) => Path.Combine(AppContext.BaseDirectory, $"{library}.dll");
}

using System.Xml.Linq;
using Microsoft.CodeAnalysis.CSharp;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Architecture;

/// <summary>Holds the order of the house, and shows that the reading it rests on misses nothing.</summary>
public sealed class FolderOrderTests
{
    /// <summary>Each library may reference those before it.</summary>
    private static readonly string[] Libraries =
        ["Pipeline", "Pipeline.Protocols", "Pipeline.Protocols.Sqlite", "Pipeline.Hosting", "Pipeline.Dashboard", "Pipeline.Testing", "Pipeline.Cli"];

    private static readonly string Library = typeof(PacketCodec).Assembly.Location;

    [Test]
    public void Compiled_code_uses_only_folders_above_its_own() =>
        Assert.That(FromAssembly().Where(use => !FolderOrder.Allows(use.User, use.Used)), Is.Empty);

    [Test]
    public void Source_names_only_folders_above_its_own() =>
        Assert.That(FromSource().Where(use => !FolderOrder.Allows(use.User, use.Used)), Is.Empty);

    [Test]
    public void No_folders_use_each_other() => Assert.That(FolderOrder.FindCycle(FromAssembly().Concat(FromSource())), Is.Empty);

    [Test]
    public void Every_type_is_in_a_folder_of_the_house()
    {
        using FileStream assembly = File.OpenRead(Library);

        Assert.That(
            AssemblyDependencies.ReadTypes(assembly).Where(type => FolderOrder.FolderOf(type.Namespace) is null),
            Is.Empty);
    }

    [Test]
    public void Every_folder_with_code_is_in_the_order() =>
        Assert.That(
            Repository.Files("lib/Pipeline", "*.cs").Select(file => Repository.Name(file).Split('/')[2]).Distinct(),
            Is.SubsetOf(FolderOrder.Folders));

    [Test]
    public void Namespaces_follow_folders() =>
        Assert.That(
            from file in Repository.Files("lib", "*.cs")
            let expected = string.Join('.', Repository.Name(file).Split('/')[1..^1])
            from declared in SourceDependencies.Namespaces(File.ReadAllText(file))
            where declared != expected
            select $"{Repository.Name(file)} declares {declared}, not {expected}",
            Is.Empty);

    [Test]
    public void Libraries_reference_one_another_in_one_direction()
    {
        List<string> offences = [];
        foreach (string project in Repository.Files("lib", "*.csproj"))
        {
            int place = Array.IndexOf(Libraries, Path.GetFileNameWithoutExtension(project));
            offences.AddRange(
                from XElement reference in XDocument.Load(project).Descendants("ProjectReference")
                let used = Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/'))
                where !Libraries.AsSpan(0, Math.Max(place, 0)).Contains(used)
                select $"{Repository.Name(project)} references {used}");
            if (place < 0)
            {
                offences.Add($"{Repository.Name(project)} has no place in the order");
            }
        }

        Assert.That(offences, Is.Empty);
    }

    [Test]
    public void The_reading_sees_the_uses_that_are_there()
    {
        (string, string)[] known = [("Transport", "Wire"), ("Transport", "Cryptography"), ("Reactors", "Dataflow"), ("Discovery", "Reactors")];

        using (Assert.EnterMultipleScope())
        {
            Assert.That(FromAssembly().Select(use => (use.User, use.Used)), Is.SupersetOf(known));
            Assert.That(FromSource().Select(use => (use.User, use.Used)), Is.SupersetOf(known));
        }
    }

    [TestCase("Wire", "Cryptography", false)]
    [TestCase("Cryptography", "Wire", false)]
    [TestCase("Wire", "Transport", false)]
    [TestCase("Transport", "Wire", true)]
    [TestCase("Transport", "Transport", true)]
    [TestCase("Transport", "Dataflow", false)]
    [TestCase("Dataflow", "Reactors", false)]
    [TestCase("Reactors", "Dataflow", true)]
    [TestCase("Switching", "Discovery", false)]
    [TestCase("Discovery", "Switching", true)]
    [TestCase("Discovery", "Wire", true)]
    [TestCase("Wire", "Diagnostics", true)]
    [TestCase("Diagnostics", "Switching", true)]
    public void The_order_is_the_one_of_the_house(string user, string used, bool allowed) =>
        Assert.That(FolderOrder.Allows(user, used), Is.EqualTo(allowed));

    [Test]
    public void A_circle_is_found_however_long_it_is()
    {
        FolderUse[] line = [new("Discovery", "Switching", ""), new("Switching", "Diagnostics", ""), new("Discovery", "Diagnostics", "")];

        using (Assert.EnterMultipleScope())
        {
            Assert.That(FolderOrder.FindCycle(line), Is.Empty);
            Assert.That(
                FolderOrder.FindCycle([.. line, new FolderUse("Diagnostics", "Discovery", "")]),
                Is.EqualTo(["Discovery", "Switching", "Diagnostics", "Discovery"]));
        }
    }

    [TestCase("class User : Used;", TestName = "base type")]
    [TestCase("class User : IUsed;", TestName = "interface")]
    [TestCase("class User { Used? _field = null; public override string ToString() => $\"{_field is null}\"; }", TestName = "field")]
    [TestCase("class User { Used[]? Property => null; }", TestName = "property")]
    [TestCase("class User { void Method(ref List<Used> parameter) { } }", TestName = "parameter")]
    [TestCase("class User<T> where T : Used;", TestName = "constraint of a type")]
    [TestCase("class User { void Method<T>() where T : IUsed { } }", TestName = "constraint of a method")]
    [TestCase("[UsedMark] class User;", TestName = "attribute of a type")]
    [TestCase("class User { void Method([UsedMark] int parameter) { } }", TestName = "attribute of a parameter")]
    [TestCase("class User { object Method() => new Used(); }", TestName = "construction")]
    [TestCase("class User { int Method() => Used.Count(); }", TestName = "static call")]
    [TestCase("class User { int Method() => Used.Number; }", TestName = "static field")]
    [TestCase("class User { void Method() => Array.Empty<Used>(); }", TestName = "argument of a generic method")]
    [TestCase("class User { bool Method(object o) => o is Used; }", TestName = "type check")]
    [TestCase("class User { Type Method() => typeof(Used.Nested); }", TestName = "typeof of a nested type")]
    [TestCase("class User { int Method(string s) => s.Widen(); }", TestName = "extension method")]
    [TestCase("class User { void Method() { try { Console.WriteLine(); } catch (UsedException) { } } }", TestName = "catch")]
    [TestCase("class User { Func<int> Method() => () => Used.Count(); }", TestName = "lambda")]
    [TestCase("class User { int Method(int i) { return Local(); int Local() => i + Used.Count(); } }", TestName = "local function")]
    [TestCase("class User { async Task Method() { await Task.Yield(); Used.Count(); } }", TestName = "async method")]
    [TestCase("class User { IEnumerable<int> Method() { yield return Used.Count(); } }", TestName = "iterator")]
    [TestCase("class User { class Inner { class Innermost { int Method() => Used.Count(); } } }", TestName = "nested type")]
    [TestCase("class User { int Method(int i) => i switch { 0 => 4, 1 => 3, 2 => 9, 3 => 7, 4 => 6, _ => Used.Count() }; }", TestName = "after a switch")]
    [TestCase("class User { double Method(long l) => l * 5_000_000_000L + 0.5 + 0.5f + Used.Count(); }", TestName = "after numbers of all sizes")]
    public void A_use_in_compiled_code_is_seen(string user)
    {
        CSharpCompilation compilation = Compiler.Compile(
            $$"""
            namespace Pipeline.Wire
            {
                using Pipeline.Transport;
                {{user}}
            }

            namespace Pipeline.Transport
            {
                interface IUsed;
                class UsedException : Exception;
                class UsedMarkAttribute : Attribute;
                class Used { public static int Number = 1; public static int Count() => 2; public class Nested; }
                static class Extensions { public static int Widen(this string s) => s.Length; }
            }
            """);
        using MemoryStream assembly = new();
        Assert.That(compilation.Emit(assembly).Success, Is.True, string.Join('\n', compilation.Complaints()));
        assembly.Position = 0;

        Assert.That(
            AssemblyDependencies.Read(assembly).Where(use => use.User != use.Used),
            Is.EqualTo([new FolderUse("Wire", "Transport", user.Contains("<T> where T : Used;", StringComparison.Ordinal) ? "User`1" : "User")]));
    }

    // A reader that loses its place among instructions goes on with nonsense, which large assemblies hold enough of to show.
    [TestCase(typeof(object))]
    [TestCase(typeof(System.Xml.XmlReader))]
    [TestCase(typeof(CSharpCompilation))]
    public void Every_instruction_of_a_large_assembly_is_understood(Type inAssembly)
    {
        using FileStream assembly = File.OpenRead(inAssembly.Assembly.Location);

        Assert.That(() => AssemblyDependencies.Read(assembly), Throws.Nothing);
    }

    [TestCase("using Pipeline.Transport;\nnamespace Pipeline.Wire;", TestName = "using")]
    [TestCase("using static Pipeline.Transport.Used;\nnamespace Pipeline.Wire;", TestName = "static using")]
    [TestCase("using Short = Pipeline.Transport.Used;\nnamespace Pipeline.Wire;", TestName = "alias")]
    [TestCase("namespace Pipeline.Wire;\nclass User { int _i = Pipeline.Transport.Used.Constant; }", TestName = "constant by its full name")]
    [TestCase("namespace Pipeline.Wire;\nclass User { int _i = Transport.Used.Constant; }", TestName = "constant by a short name")]
    [TestCase("namespace Pipeline.Wire;\nclass User { int _i = global::Pipeline.Transport.Used.Constant; }", TestName = "constant by a global name")]
    [TestCase("namespace Pipeline.Wire;\nclass User { string _s = nameof(Transport.Used); }", TestName = "nameof")]
    [TestCase("namespace Pipeline.Wire;\n[Mark(typeof(Transport.Used))] class User;", TestName = "type in an attribute")]
    public void A_use_in_source_is_seen(string source) =>
        Assert.That(
            SourceDependencies.Read(source, "File.cs").Select(use => (use.User, use.Used)).Where(use => use.User != use.Used),
            Is.EqualTo([("Wire", "Transport")]));

    [Test]
    public void A_member_that_is_called_like_a_folder_is_no_use_of_it() =>
        Assert.That(
            SourceDependencies.Read("namespace Pipeline.Wire;\nclass User { object M(User other) => other.Transport; /* Transport.X */ }", "File.cs")
                .Select(use => use.Used),
            Is.EqualTo(["Wire"]));

    private static IReadOnlyList<FolderUse> FromAssembly()
    {
        using FileStream assembly = File.OpenRead(Library);
        return AssemblyDependencies.Read(assembly);
    }

    private static IReadOnlyList<FolderUse> FromSource() =>
        [.. Repository.Files("lib/Pipeline", "*.cs").SelectMany(file => SourceDependencies.Read(File.ReadAllText(file), Repository.Name(file)))];
}

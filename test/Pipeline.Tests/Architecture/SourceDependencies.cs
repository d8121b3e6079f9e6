using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Architecture;

/// <summary>
/// Reads from source which folders a file names. This sees what a compiled assembly does not show any more: constants, <c>nameof</c>,
/// types in attributes.
/// </summary>
internal static class SourceDependencies
{
    /// <summary>The namespaces that <paramref name="source"/> declares.</summary>
    public static IReadOnlyList<string> Namespaces(string source) =>
        [.. Compiler.Parse(source).GetRoot().DescendantNodes().OfType<BaseNamespaceDeclarationSyntax>().Select(n => n.Name.ToString())];

    /// <summary>
    /// The folders that <paramref name="source"/>, a file of namespace <c>Pipeline</c>, names: after <c>Pipeline</c>, or at the start of a
    /// longer name.
    /// </summary>
    public static IReadOnlyList<FolderUse> Read(string source, string where)
    {
        SyntaxNode root = Compiler.Parse(source).GetRoot();
        return
        [
            .. from user in Namespaces(source).Select(FolderOrder.FolderOf).OfType<string>()
               from name in root.DescendantNodes().OfType<IdentifierNameSyntax>()
               where FolderOrder.Folders.Contains(name.Identifier.Text) && NamesFolder(name)
               let line = name.GetLocation().GetLineSpan().StartLinePosition.Line + 1
               select new FolderUse(user, name.Identifier.Text, $"{where}({line})"),
        ];
    }

    private static bool NamesFolder(IdentifierNameSyntax name) => name.Parent switch
    {
        QualifiedNameSyntax whole => whole.Left == name || IsRoot(whole.Left),
        MemberAccessExpressionSyntax access => access.Expression == name || IsRoot(access.Expression),
        UsingDirectiveSyntax => true,
        _ => false,
    };

    private static bool IsRoot(SyntaxNode node) => node switch
    {
        IdentifierNameSyntax name => name.Identifier.Text == "Pipeline",
        AliasQualifiedNameSyntax name => name.Name.Identifier.Text == "Pipeline",
        _ => false,
    };
}

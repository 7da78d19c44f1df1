/** The mark of Tarn: two peaks over a flat waterline. Decorative. */
export function Mark({ size }: { readonly size: number }) {
  const stroke = { strokeWidth: 1.9, strokeLinejoin: "round", strokeLinecap: "round" } as const;
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" aria-hidden="true">
      <path d="M2.5 14.5L9 5l3.6 5.2L15 7l6.5 7.5" stroke="var(--accent)" {...stroke} />
      <path d="M2.5 14.5h19" stroke="var(--accent)" {...stroke} />
      <path d="M6 18h12M9.5 21h5" stroke="var(--water)" {...stroke} />
    </svg>
  );
}
